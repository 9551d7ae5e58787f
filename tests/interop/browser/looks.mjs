// What each page has to offer to the eye: accessibility by axe, contrast, the width of a phone, and pictures.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { assert, check, DARK, DESKTOP, PHONE } from "./checks.mjs";

const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SEVERE = ["serious", "critical"];

// Checks a page in light, in dark and on a phone. `prepare` opens it, with contents, in a scene and a mode.
export async function checkLooks(peer, name, prepare) {
  for (const [mode, options] of Object.entries({ light: DESKTOP, dark: DARK, phone: PHONE })) {
    const where = mode === "phone" ? "and fits on a phone" : `in ${mode}`;
    await check(peer, `${name} is accessible ${where}`, async (scene) => {
      const page = await prepare(scene, options);
      await page.screenshot({ path: `${import.meta.dirname}/pictures/${name}-${mode}.png` });
      if (mode === "phone") await fits(page);
      await accessible(page);
      // Axe does not look at placeholders.
      for (const field of await page.locator("input[placeholder]:visible").all()) {
        const ratio = await contrast(field, "::placeholder");
        assert.ok(ratio >= 4.5, `placeholder: ${ratio.toFixed(2)}`);
      }
    });
  }
}

// No violation that is serious; lists the others.
export async function accessible(page) {
  await page.evaluate(AXE);
  const violations = await page.evaluate(async () => {
    const { violations } = await axe.run();
    return violations.map(({ id, impact, nodes }) => ({ id, impact, at: nodes.map(({ target }) => target.join(" ")) }));
  });
  for (const { id, impact, at } of violations.filter(({ impact }) => !SEVERE.includes(impact))) {
    console.log(`        ${impact}: ${id} at ${at.join(", ")}`);
  }
  assert.deepEqual(violations.filter(({ impact }) => SEVERE.includes(impact)), []);
}

// Nothing is wider than the window, and no text field is so small that a phone zooms in.
export async function fits(page) {
  const { wide, small } = await page.evaluate(() => {
    const root = document.documentElement;
    const rights = [...document.body.children].map((child) => child.getBoundingClientRect().right);
    const fields = [...document.querySelectorAll("input:not([type=checkbox]), select, textarea")];
    return {
      wide: [innerWidth, root.scrollWidth, ...rights],
      small: fields.map((field) => parseFloat(getComputedStyle(field).fontSize)).filter((size) => size < 16),
    };
  });
  const width = page.viewportSize().width;
  assert.ok(wide.every((right) => right <= width), `wider than ${width}: ${wide}`);
  assert.deepEqual(small, []);
}

// The contrast of an element's text with what is behind it, by WCAG.
export function contrast(locator, pseudo = null) {
  return locator.first().evaluate((element, pseudo) => {
    const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const ground = [];
    for (let at = element; at; at = at.parentElement) ground.unshift(getComputedStyle(at).backgroundColor);
    const paint = (color) => {
      context.fillStyle = color;
      context.fillRect(0, 0, 1, 1);
      return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const luminance = (color) => {
      const [red, green, blue] = paint(color).map((value) => value / 255)
        .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const behind = ground.map(luminance).at(-1);
    const text = luminance(getComputedStyle(element, pseudo).color);
    return (Math.max(behind, text) + 0.05) / (Math.min(behind, text) + 0.05);
  }, pseudo);
}
