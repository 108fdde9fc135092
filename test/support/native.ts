// Whether the native addon was built: where it was not, what is about it is left out. In CI the
// installation fails without it.

import { loadNative } from "../../src/transport/native.ts";

export const hasNative: boolean = isLoadable();

function isLoadable(): boolean {
  try {
    loadNative();
    return true;
  } catch {
    return false;
  }
}
