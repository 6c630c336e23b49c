/** Where progress is kept: this browser's storage, or this visit alone where it takes nothing. */
const KEY = "carousel.quiz";

let memory: string | null = null;
let fits = true; // whether the last text is in the storage; else memory is ahead of it

/** The text that was kept last, or null. */
export function kept(): string | null {
  if (!fits) return memory;
  try {
    return window.localStorage.getItem(KEY);
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
    fits = true;
  } catch {
    // What fitted earlier stays in the storage: the next visit begins there and not with nothing.
    fits = false;
  }
  return fits;
}

/** Whether what was kept last outlasts this visit. */
export function lasts(): boolean {
  return fits;
}

/**
 * Tells what another tab keeps, null where it erases it, until the function that it returns is
 * called. A tab whose own text did not fit goes on by itself.
 */
export function follow(tell: (text: string | null) => void): () => void {
  const heard = (event: StorageEvent) => {
    if (event.key === KEY && fits) tell(event.newValue);
  };
  window.addEventListener("storage", heard);
  return () => window.removeEventListener("storage", heard);
}
