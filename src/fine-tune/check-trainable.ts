/** Whether the active backend can train a model, found out before any work is done. */
import {
  backend,
  dispose,
  engine,
  getBackend,
  mean,
  type Scalar,
  type Tensor,
  tidy,
  variableGrads,
  zeros,
} from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../errors';
import type { LayerVariable } from '../internals';
import { restoreSnapshot, takeSnapshot } from './weights';

/**
 * One forward and backward pass on an empty picture; nothing is kept of it.
 * @param shape [height, width, channels] of the pictures; the model's own may leave sizes open.
 * @throws TuneModeError `unsupported` with what tfjs said, such as a gradient kernel that the backend lacks.
 */
export async function checkTrainable(model: LayersModel, shape: readonly number[]): Promise<void> {
  const variables = (model.trainableWeights as unknown as LayerVariable[]).map((weight) => weight.read());
  const before = await takeSnapshot(model);
  try {
    await withDeviceErrors(() => {
      tidy(() => {
        const picture = zeros([1, ...shape]);
        variableGrads(() => mean(model.apply(picture, { training: true }) as Tensor) as Scalar, variables);
      });
    });
  } catch (error) {
    forgetTape();
    // It has said already what is missing and what to do.
    if (error instanceof TuneModeError) throw error;
    const [message] = (error instanceof Error ? error.message : String(error)).split('\n');
    throw new TuneModeError(
      'unsupported',
      `The model '${model.name}' cannot be trained on the backend '${getBackend()}': ${message} ` +
        'In Node call useBestBackend() first, in a page use webgl.',
      { cause: error },
    );
  } finally {
    // In Train mode the pass above has moved the statistics of every BatchNorm.
    restoreSnapshot(model, before);
  }
}

/** The parts of a GPUDevice that are used here. */
interface Device {
  pushErrorScope(filter: 'validation'): void;
  popErrorScope(): Promise<{ message: string } | null>;
}

/** On webgpu a kernel that does not compile gives wrong numbers, and its error goes to the console (tfjs 4.22.0). */
async function withDeviceErrors(run: () => void): Promise<void> {
  const { device } = backend() as unknown as { device?: Device };
  if (device === undefined) {
    run();
    return;
  }
  device.pushErrorScope('validation');
  let thrown: { error: unknown } | null = null;
  try {
    run();
  } catch (error) {
    thrown = { error };
  }
  const found = await device.popErrorScope();
  if (thrown !== null) throw thrown.error;
  if (found !== null) throw new Error(found.message);
}

/** When a gradient throws, tfjs-core (4.22.0) keeps its tape and what that saved for the other gradients. */
function forgetTape(): void {
  const { state } = engine() as unknown as {
    state: { gradientDepth: number; activeTape?: { saved?: Tensor[] }[] | null };
  };
  if (state.gradientDepth > 0 || !state.activeTape) return;
  dispose(state.activeTape.flatMap(({ saved }) => saved ?? []));
  state.activeTape = null;
}
