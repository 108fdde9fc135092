// Tells when something happens in the folders of a file. The kernel's word for it is a hint: it may
// be refused (no inotify watches left, network file systems), come late, or never.
import { type FSWatcher, realpathSync, statSync, watch } from "node:fs";
import { dirname } from "node:path";

export interface FolderWatcher {
  close(): void;
}

/**
 * Watches one folder until it is closed. May throw where it cannot, or call `onFailed` later.
 * What a test replaces.
 */
export type WatchFolder = (
  folder: string,
  onEvent: () => void,
  onFailed: () => void,
) => FolderWatcher;

export const watchFolder: WatchFolder = (folder, onEvent, onFailed) => {
  const watcher: FSWatcher = watch(folder, { persistent: false }, onEvent);
  watcher.on("error", onFailed);
  return watcher;
};

/** The folder in which a file's name lies, and the one in which the file itself does. */
export class FolderWatch {
  readonly #file: string;
  readonly #onEvent: () => void;
  readonly #watchFolder: WatchFolder;
  #watchers: FolderWatcher[] = [];
  /** The folders that are watched and which they were; "" where that failed. */
  #key: string = "";

  constructor(file: string, onEvent: () => void, watchOne: WatchFolder) {
    this.#file = file;
    this.#onEvent = onEvent;
    this.#watchFolder = watchOne;
  }

  /** Follows folders that were replaced and links that lead elsewhere. Cheap where none did. */
  renew(): void {
    const folders = foldersOf(this.#file);
    const key = folders.map((folder) => `${folder}\0${identityOf(folder)}`).join("\0");
    if (key === this.#key) return;
    this.close();
    this.#key = key;
    try {
      for (const folder of folders) {
        this.#watchers.push(this.#watchFolder(folder, this.#onEvent, () => this.close()));
      }
    } catch {
      this.close();
    }
  }

  /** Until the next {@link renew}. */
  close(): void {
    for (const watcher of this.#watchers) watcher.close();
    this.#watchers = [];
    this.#key = "";
  }
}

function foldersOf(file: string): readonly string[] {
  const folder = dirname(file);
  try {
    return [...new Set([folder, dirname(realpathSync(file))])];
  } catch {
    return [folder];
  }
}

/** A folder that was removed and made again is another one: the old watch hears nothing of it. */
function identityOf(folder: string): string {
  const stats = statSync(folder, { bigint: true, throwIfNoEntry: false });
  return stats === undefined ? "" : `${stats.dev}:${stats.ino}`;
}
