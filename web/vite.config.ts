import preact from "@preact/preset-vite";
import { defineConfig } from "vitest/config";

/** Where `vite dev` finds a server to proxy the stream from. */
const server = process.env["PULSEBOARD_URL"] ?? "http://127.0.0.1:8765";

export default defineConfig({
  base: "./", // the page does not know below what it is mounted
  plugins: [preact()],
  server: { proxy: { "/api": server } },
  build: {
    outDir: "../src/pulseboard/server/static",
    emptyOutDir: true,
    assetsDir: "services/assets", // as seen from the page, which is at <anywhere>/services
    assetsInlineLimit: 0, // a `data:` URL would need more than `default-src 'self'`
    modulePreload: { polyfill: false },
    target: ["chrome123", "firefox121", "safari17.5"], // the first with light-dark()
  },
  test: { environment: "happy-dom", include: ["test/**/*.test.{ts,tsx}"] },
});
