import type { Augmentation } from '../../src/fine-tune/augmentation';
import type { PictureReader } from './decode-pool';
import { type Copies, removeCopies, reserveCopies } from './kept-copies';
import type { Picture } from './picture-files';
import type { ResolvedOptions } from './picture-options';
import type { PictureReading } from './read-picture';

/** A picture of a pass, with its changes. */
export interface PassPicture {
  picture: Picture;
  change?: Augmentation;
}

/** What the data sets of one folder read their pictures from: threads and copies on disk, made when first used. */
export class PictureSource {
  private copies?: Copies;

  constructor(
    private readonly options: ResolvedOptions,
    private readonly reader: PictureReader,
  ) {}

  /**
   * Reads pictures in their order. Where threads do it, two batches are asked for ahead of what has been taken.
   * Call `leave` at the end, also of a pass that was not finished.
   */
  pass(pictures: readonly PassPicture[]): PicturePass {
    const { size, inputRange, channels, workers, cache, batchSize } = this.options;
    if (cache) this.copies ??= reserveCopies(Math.max(1, workers));
    const pass = {};
    const ask = ({ picture: { file }, change }: PassPicture) =>
      this.reader.read({ file, size, inputRange, channels, change, copies: this.copies }, pass);
    return new PicturePass(pictures, ask, this.reader.isBeside ? 2 * batchSize : 0, () => this.reader.drop(pass));
  }

  async close(): Promise<void> {
    await this.reader.close();
    if (this.copies) removeCopies(this.copies.folder);
    this.copies = undefined;
  }
}

/** Runs once through a list of pictures, asking ahead. */
export class PicturePass {
  private readonly pending: Promise<PictureReading>[] = [];
  private taken = 0;

  constructor(
    private readonly pictures: readonly PassPicture[],
    private readonly ask: (picture: PassPicture) => Promise<PictureReading>,
    private readonly ahead: number,
    readonly leave: () => void,
  ) {}

  /** Pictures that have not been taken yet. */
  get left(): number {
    return this.pictures.length - this.taken;
  }

  async take(): Promise<{ picture: Picture; reading: PictureReading }> {
    this.askFor(Math.max(1, this.ahead));
    const { picture } = this.pictures[this.taken++];
    return { picture, reading: await this.pending.shift()! };
  }

  /** To be called before this thread is busy with something else. */
  askAhead(): void {
    this.askFor(this.ahead);
  }

  private askFor(count: number): void {
    while (this.pending.length < Math.min(count, this.left)) {
      this.pending.push(this.ask(this.pictures[this.taken + this.pending.length]));
    }
  }
}
