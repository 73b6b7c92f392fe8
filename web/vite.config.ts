import preact from "@preact/preset-vite";
import { defineConfig } from "vitest/config";

/** The server to which `vite dev` proxies the API. */
const server = process.env["PULSEBOARD_URL"] ?? "http://127.0.0.1:8765";

export default defineConfig({
  base: "./", // the page may be mounted below any path prefix
  plugins: [preact()],
  server: { proxy: { "/api": server } },
  build: {
    outDir: "../src/pulseboard/server/static",
    emptyOutDir: true,
    assetsDir: "services/assets", // relative to the page, which is at <prefix>/services
    assetsInlineLimit: 0, // a `data:` URL would need more than `default-src 'self'`
    modulePreload: { polyfill: false },
    target: ["chrome123", "firefox121", "safari17.5"], // the first versions with light-dark()
  },
  test: {
    environment: "happy-dom",
    include: ["test/**/*.test.{ts,tsx}"],
    testTimeout: 20_000, // the default of 5 s is too short on a busy machine
  },
});
