import type { Picture } from './picture-files';
import type { SkippedPicture } from './picture-options';

/** Remembers which pictures could not be read, and says so once for each. */
export class SkipLog {
  readonly list: SkippedPicture[] = [];
  private readonly files = new Set<string>();

  /**
   * @param onSkip who is told; without it, the console is.
   * @param known nobody is told of these.
   */
  constructor(
    private readonly onSkip?: (skipped: SkippedPicture) => void,
    known: readonly SkippedPicture[] = [],
  ) {
    this.list.push(...known);
    for (const { file } of known) this.files.add(file);
  }

  has(file: string): boolean {
    return this.files.has(file);
  }

  add(file: string, reason: string): void {
    if (this.files.has(file)) return;
    this.files.add(file);
    const skipped = { file, reason };
    this.list.push(skipped);
    if (this.onSkip) this.onSkip(skipped);
    else console.warn(`Skipped '${file}': ${reason}.`);
  }

  /** Says at the end of an epoch how many of these pictures were left out. */
  sum(pictures: readonly Picture[]): void {
    if (this.onSkip) return;
    const count = pictures.filter(({ file }) => this.files.has(file)).length;
    console.warn(`${count} of ${pictures.length} pictures could not be read and were skipped.`);
  }
}
