import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

// One classic script and one style sheet with fixed names: the page then also works from a folder,
// where browsers load no modules, and the built files can be compared.
export default defineConfig({
  base: "./",
  plugins: [svelte()],
  build: {
    outDir: "../src/carousel/serve/page",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    modulePreload: false,
    target: "es2022",
    lib: {
      entry: "src/main.ts",
      formats: ["iife"],
      name: "carousel",
      fileName: () => "app.js",
      cssFileName: "app",
    },
  },
  test: { include: ["src/**/*.test.ts"] },
});
