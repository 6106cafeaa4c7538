/** What differs between Node and a page: where downloads are kept, what a path means, who shows progress. */
import type { io } from '@tensorflow/tfjs-core';
import type { Store } from './cache';

export interface Platform {
  /**
   * Where downloads are kept; undefined where nothing can be.
   * @param place the option `cache`: a folder in Node, the name of a cache in a page. Default: the usual one.
   */
  openStore(place: string | undefined): Store | undefined;
  /** Shows a download to the user, where the program does not. */
  showProgress(url: string): DownloadDisplay | undefined;
  /** The URL that a source without a scheme means; undefined where it is a path. */
  urlOf(source: string): string | undefined;
  /** The model at a path or `file://` URL; absent where there are no paths. */
  localModel?(source: string): LocalModel;
  /** The text of a file; undefined if there is none. */
  readText?(path: string): Promise<string | undefined>;
  /** Where a model is to be written. */
  target(place: string): SaveTarget;
  /** Ends the sentence 'pass …': how to give a copy of one's own. */
  readonly ownCopy: string;
}

export interface DownloadDisplay {
  /** @param fraction 0…1 */
  show(fraction: number): void;
  end(): void;
}

/** A model on disk. */
export interface LocalModel {
  /** The path as the user is told it. */
  place: string;
  load(): Promise<io.ModelArtifacts>;
  /** The text of a file in the model's folder; undefined if there is none. */
  readBeside(name: string): Promise<string | undefined>;
}

export interface SaveTarget {
  handler: io.IOHandler;
  /** Writes a text file beside the model; absent where there is no such thing. */
  writeBeside?(name: string, text: string): Promise<void>;
}
