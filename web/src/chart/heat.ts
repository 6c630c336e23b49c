/** Norms by row and column as pixels: what a heat map computes, apart from the view. */
import { spokenIn } from "../lib/levels";

export const VALUE = 0;
export const ZERO = 1;
export const UNDERFLOW = 2;
export const INFINITE = 3;
export const NAN = 4;
export const PADDING = 5;

/** By the number that a category goes by, as in `carousel.flow.Category`. */
export const CATEGORIES = [
  "value",
  "zero",
  "underflow",
  "infinite",
  "NaN",
  "padding (not recorded)",
] as const;

export interface Cells {
  readonly rows: number;
  readonly columns: number;
  readonly levels: Float32Array; // log10, row by row
  readonly categories: Uint8Array;
}

/** Cells joined until there is room for them, and for each of them one that stands for it. */
export interface Pooled extends Cells {
  readonly picked: Int32Array; // its place among the cells before
}

export function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}

/** Little-endian floats, as every machine has them that a browser runs on. */
export function floatsOf(base64: string): Float32Array {
  return new Float32Array(bytesOf(base64).buffer);
}

/** Which of `places` each of `count` falls into. */
export function bins(count: number, places: number): Int32Array {
  return Int32Array.from({ length: count }, (_, at) => Math.floor((at * places) / count));
}

/**
 * At most so many rows and columns. A cell that holds any NaN is NaN, else one that holds any infinity
 * is infinite: neither is ever averaged away. Otherwise its category is the most frequent one, and its
 * level the mean of its log10.
 */
export function pool(cells: Cells, mostRows: number, mostColumns: number): Pooled {
  const rows = Math.max(1, Math.min(cells.rows, Math.floor(mostRows)));
  const columns = Math.max(1, Math.min(cells.columns, Math.floor(mostColumns)));
  const { levels, categories } = cells;
  if (rows === cells.rows && columns === cells.columns) {
    return { ...cells, picked: Int32Array.from(levels, (_, at) => at) };
  }
  const size = rows * columns;
  const [rowOf, columnOf] = [bins(cells.rows, rows), bins(cells.columns, columns)];
  const counts = new Int32Array(size * 3); // of VALUE, ZERO, UNDERFLOW
  const sums = new Float64Array(size);
  const found = new Uint8Array(size).fill(PADDING);
  const picked = new Int32Array(size).fill(-1);
  for (let row = 0, from = 0; row < cells.rows; row++) {
    const start = (rowOf[row] as number) * columns;
    for (let column = 0; column < cells.columns; column++, from++) {
      const to = start + (columnOf[column] as number);
      const category = categories[from] as number;
      if (category <= UNDERFLOW) {
        (counts[to * 3 + category] as number)++;
        if (category !== ZERO) (sums[to] as number) += levels[from] as number;
        if ((picked[to] as number) < 0) picked[to] = from;
      } else if (
        category !== PADDING &&
        (found[to] === PADDING || category > (found[to] as number))
      ) {
        found[to] = category;
        picked[to] = from;
      } else if ((picked[to] as number) < 0) {
        picked[to] = from;
      }
    }
  }
  const means = new Float32Array(size);
  for (let at = 0; at < size; at++) {
    const [value, zero, underflow] = [counts[at * 3], counts[at * 3 + 1], counts[at * 3 + 2]] as [
      number,
      number,
      number,
    ];
    if (value + underflow > 0) means[at] = (sums[at] as number) / (value + underflow);
    if (found[at] !== PADDING || value + zero + underflow === 0) continue;
    found[at] = value >= underflow && value >= zero ? VALUE : underflow >= zero ? UNDERFLOW : ZERO;
  }
  return { rows, columns, levels: means, categories: found, picked };
}

/** How many cells of each category there are. */
export function tally(categories: Uint8Array): number[] {
  const counts = [0, 0, 0, 0, 0, 0];
  for (const category of categories) (counts[category] as number)++;
  return counts;
}

/** The smallest and the largest level that is drawn as a colour; one decade apart at least. */
export function levelRange(cells: Cells): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (let at = 0; at < cells.levels.length; at++) {
    if (cells.categories[at] !== VALUE) continue;
    const level = cells.levels[at] as number;
    if (level < low) low = level;
    if (level > high) high = level;
  }
  if (low > high) return [-1, 0];
  const middle = (low + high) / 2;
  return high - low < 1 ? [middle - 0.5, middle + 0.5] : [low, high];
}

/** The first cell of a category by column, then by row; -1 where there is none. */
export function firstOf(cells: Cells, category: number): number {
  for (let column = 0; column < cells.columns; column++) {
    for (let row = 0; row < cells.rows; row++) {
      const at = row * cells.columns + column;
      if (cells.categories[at] === category) return at;
    }
  }
  return -1;
}

export interface Palette {
  readonly shades: Uint32Array; // 256, from the smallest to the largest
  readonly grounds: Uint32Array; // by category
  readonly inks: Uint32Array;
}

const TILE = 8;

/** What marks each category beside its colour, by pixel of a tile. */
export const MARKS: Readonly<Record<number, (x: number, y: number) => boolean>> = {
  [ZERO]: (x, y) => y === 3 && x < 5,
  [UNDERFLOW]: (x, y) => x % 4 < 2 && y % 4 < 2,
  [INFINITE]: (x, y) => (x + y) % TILE < 2,
  [NAN]: (x, y) => x === y || x + y === TILE - 1,
  [PADDING]: (x, y) => (x - y + TILE) % TILE === 0,
};

const TILES = CATEGORIES.map((_, category) => {
  const mark = MARKS[category];
  return Uint8Array.from({ length: TILE * TILE }, (_, at) =>
    mark?.(at % TILE, Math.floor(at / TILE)) ? 1 : 0,
  );
});

/** #rrggbb, or #rgb as a minifier writes it, as a pixel of ImageData with its bytes r, g, b, a. */
export function pixel(hex: string): number {
  const digits = hex.trim().slice(1);
  const value = Number.parseInt(digits.length === 3 ? digits.replace(/./g, "$&$&") : digits, 16);
  const [r, g, b] = [(value >> 16) & 255, (value >> 8) & 255, value & 255];
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
}

/** Colours between those of a scale. */
export function shaded(scale: readonly string[]): Uint32Array {
  const stops = scale.map(pixel);
  return Uint32Array.from({ length: 256 }, (_, at) => {
    const place = (at / 255) * (stops.length - 1);
    const below = Math.min(stops.length - 2, Math.floor(place));
    const [a, b, part] = [stops[below] as number, stops[below + 1] as number, place - below];
    let mixed = 255 << 24;
    for (const shift of [0, 8, 16]) {
      const [from, to] = [(a >> shift) & 255, (b >> shift) & 255];
      mixed |= Math.round(from + (to - from) * part) << shift;
    }
    return mixed >>> 0;
  });
}

/** Fills `pixels`, `width` x `height`, with the cells; patterns are `zoom` pixels to a dot. */
export function paint(
  pixels: Uint32Array,
  width: number,
  height: number,
  cells: Cells,
  range: readonly [number, number],
  palette: Palette,
  zoom = 1,
): void {
  const { rows, columns, levels, categories } = cells;
  const scale = 255.999 / (range[1] - range[0]);
  const shade = new Uint32Array(rows * columns);
  for (let at = 0; at < shade.length; at++) {
    if (categories[at] !== VALUE) continue;
    const place = Math.floor(((levels[at] as number) - range[0]) * scale);
    shade[at] = palette.shades[Math.max(0, Math.min(place, 255))] as number;
  }
  const columnOf = bins(width, columns);
  for (let y = 0, to = 0; y < height; y++) {
    const start = Math.floor((y * rows) / height) * columns;
    const tileRow = (Math.floor(y / zoom) % TILE) * TILE;
    for (let x = 0; x < width; x++, to++) {
      const at = start + (columnOf[x] as number);
      const category = categories[at] as number;
      if (category === VALUE) {
        pixels[to] = shade[at] as number;
      } else {
        const dot = TILES[category]?.[tileRow + (Math.floor(x / zoom) % TILE)];
        pixels[to] = (dot ? palette.inks : palette.grounds)[category] as number;
      }
    }
  }
}

/** One cell in words. */
export function spokenCell(cells: Cells, at: number, smallest: number): string {
  const category = cells.categories[at] as number;
  const level = cells.levels[at] as number;
  if (category === VALUE) return spokenIn(level, -Infinity);
  if (category === UNDERFLOW)
    return `${spokenIn(level, smallest).replace(" (underflows)", "")} (underflows)`;
  if (category === ZERO) return "exactly zero";
  if (category === INFINITE) {
    return Number.isFinite(level) ? `${spokenIn(level, -Infinity)} (overflows)` : "infinite";
  }
  return category === NAN ? "not a number" : "padding (not recorded)";
}

/** One cell for a table that machines read: the log10, or the name. */
export function plainCell(cells: Cells, at: number): string {
  const category = cells.categories[at] as number;
  if (category === VALUE || category === UNDERFLOW) return `${cells.levels[at]}`;
  return category === NAN ? "nan" : category === PADDING ? "padding" : (CATEGORIES[category] ?? "");
}
