/**
 * Bundles the original page for a browser and the original publisher for Node into a folder, with the
 * Vite of `web/`.
 */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const original = resolve(here, "..");
const web = resolve(original, "../../web/package.json");
const vite = dirname(createRequire(web).resolve("vite/package.json"));
const entry = JSON.parse(readFileSync(join(vite, "package.json"), "utf8")).exports["."];
const { build } = await import(pathToFileURL(join(vite, entry.default ?? entry)).href);

const out = process.argv[2];
if (!out) throw new Error("usage: build.mjs FOLDER");

const REST = "{/* Rest of UI stays the same */}";

/** Inserts our view of the status where the original page has a placeholder. */
const restOfUi = {
  name: "rest-of-ui",
  enforce: "pre",
  transform(code, id) {
    if (!id.endsWith("/services/page.tsx")) return null;
    if (code.split(REST).length !== 2) throw new Error("the original page has no placeholder for the rest of its UI; restore app/ from git");
    return { code: code.replace(REST, "<RestOfUi status={status} />"), map: null };
  },
};

const shared = {
  configFile: false,
  root: original,
  logLevel: "error",
  resolve: { alias: { "@": original } },
};

await build({
  ...shared,
  define: { "process.env.NODE_ENV": '"production"' },
  plugins: [restOfUi],
  oxc: { jsx: { runtime: "automatic" } },
  build: {
    outDir: resolve(out, "page"),
    emptyOutDir: true,
    minify: false,
    lib: { entry: join(here, "main.tsx"), formats: ["es"], fileName: "page" },
    // page.tsx uses these names without an import.
    rolldownOptions: {
      transform: {
        inject: {
          RefreshCw: [join(here, "missing.tsx"), "RefreshCw"],
          RestOfUi: [join(here, "missing.tsx"), "RestOfUi"],
        },
      },
    },
  },
});

await build({
  ...shared,
  ssr: { noExternal: true },
  build: {
    outDir: resolve(out, "peer"),
    emptyOutDir: true,
    minify: false,
    ssr: join(here, "peer.ts"),
    rolldownOptions: { output: { entryFileNames: "peer.mjs" } },
  },
});
