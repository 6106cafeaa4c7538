/** The one layer class of this package: what graphs compute and Keras has no layer for. */
import { serialization, type Tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import { initializers, layers, type Shape } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../../src/errors';
import type { Layer, LayerVariable } from '../../src/internals';
import { OPERATIONS, type OperationName, type OperationSettings } from './operations';

type LayerConfig = NonNullable<ConstructorParameters<typeof layers.Layer>[0]>;

export type GraphOperationConfig = LayerConfig & {
  operation: OperationName;
  settings: OperationSettings;
  /** Shape of the constant that takes part, a weight that does not train; absent: none takes part. */
  constantShape?: number[] | null;
};

/**
 * Two sizes that an unknown one is tried with: what differs between the results is unknown too. The batch is tried with
 * single pictures, so that a large map costs no more than it has to; no operation changes it.
 */
const TRIED_SIZES = [24, 40];

/**
 * A registered, serialisable layer. A program that loads a saved model with such layers has to import
 * `tfjs-tune-mode/graph-model`, or tfjs does not know the class.
 */
export class GraphOperation extends layers.Layer {
  /** @nocollapse */
  static className = 'GraphOperation';

  readonly operation: OperationName;
  readonly settings: OperationSettings;
  readonly constantShape: number[] | null;
  private constant: LayerVariable | null = null;

  /** @throws TuneModeError `unsupported` for an operation that this version does not know. */
  constructor(config: GraphOperationConfig) {
    super(config);
    if (!Object.hasOwn(OPERATIONS, config.operation)) {
      throw new TuneModeError(
        'unsupported',
        `Layer '${this.name}' (GraphOperation): unknown operation '${config.operation}'. ` +
          `This version knows ${Object.keys(OPERATIONS).join(', ')}.`,
      );
    }
    this.operation = config.operation;
    this.settings = config.settings;
    this.constantShape = config.constantShape ?? null;
  }

  override build(inputShape: Shape | Shape[]): void {
    if (this.constantShape !== null) {
      this.constant = this.addWeight(
        'constant',
        this.constantShape,
        'float32',
        initializers.zeros(),
        undefined,
        false,
      ) as unknown as LayerVariable;
    }
    super.build(inputShape);
  }

  override computeOutputShape(inputShape: Shape | Shape[]): Shape | Shape[] {
    const shapes = (Array.isArray(inputShape[0]) ? inputShape : [inputShape]) as Shape[];
    const [first, second] = TRIED_SIZES.map((size) =>
      tidy(() => {
        const inputs = shapes.map(([batch, ...rest]) => zeros([batch ?? 1, ...rest.map((each) => each ?? size)]));
        const constant = this.constantShape === null ? null : zeros(this.constantShape);
        const outputs = OPERATIONS[this.operation](inputs, this.settings, constant);
        return (Array.isArray(outputs) ? outputs : [outputs]).map(({ shape }) => shape);
      }),
    );
    const isOpen = shapes.every(([batch]) => batch === null);
    const result = first.map(([batch, ...rest], i) => [
      isOpen ? null : batch,
      ...rest.map((size, axis) => (size === second[i][axis + 1] ? size : null)),
    ]);
    return result.length === 1 ? result[0] : result;
  }

  override call(inputs: Tensor | Tensor[]): Tensor | Tensor[] {
    return tidy(() =>
      OPERATIONS[this.operation](
        Array.isArray(inputs) ? inputs : [inputs],
        this.settings,
        this.constant?.read() ?? null,
      ),
    );
  }

  override getConfig(): serialization.ConfigDict {
    const { operation, settings, constantShape } = this;
    return { ...super.getConfig(), operation, settings: { ...settings }, constantShape };
  }
}

serialization.registerClass(GraphOperation);

/** A layer that computes an operation, with the values that it takes from its constant still to be set. */
export function graphOperation(config: GraphOperationConfig): Layer {
  return new GraphOperation(config) as unknown as Layer;
}
