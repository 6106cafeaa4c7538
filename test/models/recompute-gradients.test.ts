/**
 * `recompute` under gradients of gradients and in backward passes that fail.
 *
 * Tune with `recompute` and without it give the same numbers bit by bit. Eval's gradients differ by `gradientRounding`.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { enableTuneMode, setMode } from 'tfjs-tune-mode';
import { useBackend } from '../helpers/backends';
import { inputsFor, largestDifference, randomise } from '../helpers/models';
import { gradientRounding, gradients } from './gradients';
import { BATCH, block, bottleneck, bottleneckModel, model, POSITIONS, pointwise, RECOMPUTE } from './recompute-models';
import { act, conv, input } from './table';

describe.each(['cpu', 'wasm'] as const)('%s', (backend) => {
  beforeAll(() => useBackend(backend));

  describe('gradients of gradients', () => {
    // No depthwise convolution: tfjs has no gradient of its gradient.
    const build = () => {
      const x = input();
      const y = block(block(x, pointwise('expand', 12), act('a', 'tanh')), conv('c'), act('b', 'tanh'));
      return model(x, y);
    };
    const scoped = <T>(run: () => T): T => {
      tf.engine().startScope();
      try {
        return run();
      } finally {
        tf.engine().endScope();
      }
    };
    const loss = (net: tfl.LayersModel, x: tf.Tensor) =>
      tf.sum(tf.square(net.apply(x, { training: true }) as tf.Tensor));

    test('a penalty on the gradient is Eval’s', () => {
      const net = build();
      randomise(net, 2);
      const [x] = inputsFor(net, 3, BATCH);
      const penalty = () =>
        scoped(() => {
          const grad = tf.grad((input) => tf.sum(tf.square(tf.grad((inner) => loss(net, inner))(input))));
          return [Array.from(grad(x).dataSync())];
        });
      setMode(net, 'eval');
      const ofEval = penalty();
      enableTuneMode(net, RECOMPUTE);
      // Two backward passes.
      expect(largestDifference(penalty(), ofEval)).toBeLessThan(2 * gradientRounding(net, POSITIONS));
    });

    // A map rebuilt by a kernel leaves nothing on the outer tape that could be followed.
    test('where the forward pass stands outside of the inner gradient it is refused, in words', () => {
      const net = build();
      randomise(net, 2);
      const [x] = inputsFor(net, 3, BATCH);
      const penalty = () =>
        scoped(() => {
          const grad = tf.grad((input) => {
            const value = loss(net, input);
            const [inner] = tf.grads(() => value)([input]);
            return tf.sum(tf.square(inner));
          });
          return [Array.from(grad(x).dataSync())];
        });
      enableTuneMode(net, RECOMPUTE);
      expect(penalty).toThrow(
        expect.objectContaining({ code: 'unsupported', message: expect.stringContaining('recompute: false') }),
      );
    });

    test('an inner gradient over a pass outside of it leaves the maps to the outer one', () => {
      const net = bottleneckModel();
      randomise(net, 2);
      const [x] = inputsFor(net, 3, BATCH);
      const run = () =>
        scoped(() => {
          let inner: number[] = [];
          const outer = tf.grad((input) => {
            const value = loss(net, input);
            tf.tidy(() => {
              inner = Array.from(
                tf
                  .grads(() => value)([input])[0]
                  .dataSync(),
              );
            });
            return value;
          })(x);
          return [inner, Array.from(outer.dataSync())];
        });
      enableTuneMode(net);
      const kept = run();
      enableTuneMode(net, RECOMPUTE);
      const alive = tf.memory().numTensors;
      const recomputed = run();
      expect(tf.memory().numTensors).toBe(alive);
      // On wasm the outer pass has kernels of its own, the same ones with recomputing and without.
      expect(recomputed).toEqual(kept);
    });
  });

  describe('a backward pass that fails', () => {
    /** What stays alive after a failure: tfjs keeps what it saved for a backward pass that ends early, in every mode. */
    const leaked = (run: () => unknown) => {
      const before = tf.memory();
      expect(run).toThrow('trap');
      const after = tf.memory();
      return { tensors: after.numTensors - before.numTensors, bytes: after.numBytes - before.numBytes };
    };
    const trapped = (x: tf.Tensor): tf.Tensor =>
      tf.customGrad((u) => ({
        value: tf.mul(u as tf.Tensor, 1),
        gradFunc: () => {
          throw new Error('trap');
        },
      }))(x);

    test('in the middle leaves no more than without recomputing, and the next pass is right', () => {
      const bottom = bottleneckModel();
      const middle = tfl.input({ shape: bottom.outputs[0].shape.slice(1) });
      const top = model(middle, bottleneck(middle, 'top'));
      for (const net of [bottom, top]) randomise(net, 3);
      const [x] = inputsFor(bottom, 4, BATCH);
      const run = () => {
        tf.engine().startScope();
        try {
          tf.grads((input) => {
            const y = trapped(bottom.apply(input, { training: true }) as tf.Tensor);
            return tf.sum(top.apply(y, { training: true }) as tf.Tensor);
          })([x]);
        } finally {
          tf.engine().endScope();
        }
      };
      const left = [false, true].map((recompute) => {
        enableTuneMode(bottom, { recompute });
        enableTuneMode(top, { recompute });
        return leaked(run);
      });
      expect(left[1].bytes).toBeLessThanOrEqual(left[0].bytes);
      expect(left[1].tensors).toBeLessThanOrEqual(left[0].tensors);
      const after = gradients(bottom, [x]);
      enableTuneMode(bottom);
      expect(after).toEqual(gradients(bottom, [x]));
    });

    test('while a map is being recomputed leaves no more than one that fails at its very start', () => {
      const net = bottleneckModel();
      randomise(net, 3);
      const [x] = inputsFor(net, 4, BATCH);
      enableTuneMode(net, RECOMPUTE);
      const expected = gradients(net, [x]);
      const run = (last: (y: tf.Tensor) => tf.Tensor) => {
        tf.engine().startScope();
        try {
          tf.grads((input) => tf.sum(last(net.apply(input, { training: true }) as tf.Tensor)))([x]);
        } finally {
          tf.engine().endScope();
        }
      };
      const atStart = leaked(() => run(trapped));
      const config = tf.getKernel('FusedDepthwiseConv2D', backend)!;
      let calls = 0;
      tf.unregisterKernel(config.kernelName, backend);
      tf.registerKernel({
        ...config,
        kernelFunc: (args) => {
          // Two in the forward pass; the first one of the backward pass is let through.
          if (++calls === 4) throw new Error('trap');
          return config.kernelFunc(args);
        },
      });
      try {
        const within = leaked(() => run((y) => y));
        expect(calls).toBe(4);
        expect(within.tensors).toBeLessThanOrEqual(atStart.tensors);
        expect(within.bytes).toBeLessThanOrEqual(atStart.bytes);
      } finally {
        tf.unregisterKernel(config.kernelName, backend);
        tf.registerKernel(config);
      }
      const alive = tf.memory().numTensors;
      expect(gradients(net, [x])).toEqual(expected);
      expect(tf.memory().numTensors).toBeLessThanOrEqual(alive);
    });
  });
});
