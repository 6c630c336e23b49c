/** Where progress is kept: this browser's storage, or this visit alone where there is none. */
const KEY = "carousel.quiz";

let memory: string | null = null;

/** The text that was kept, or null. */
export function kept(): string | null {
  try {
    return window.localStorage.getItem(KEY) ?? memory;
  } catch {
    return memory;
  }
}

/** Keeps a text; null erases it. False where it lasts for this visit only. */
export function keep(text: string | null): boolean {
  memory = text;
  try {
    if (text === null) window.localStorage.removeItem(KEY);
    else window.localStorage.setItem(KEY, text);
    return true;
  } catch {
    return false;
  }
}
