/** Names of layers from names of nodes: without the scopes that all have in common, and without what only repeats the op. */
import type { Graph } from './graph';

/** Last parts of names that say no more than the op does. */
const REDUNDANT =
  /^(Conv2D|convolution|depthwise|separable_conv2d(_\d+)?|BiasAdd(_\d+)?|MatMul|Relu6?|BatchNorm|batchnorm|FusedBatchNorm(V[23])?|mul(_1)?|add(_1)?|read)$/;

export class LayerNames {
  private readonly used = new Set<string>();
  private readonly common: string[];

  constructor({ nodes }: Graph) {
    const scopes = nodes
      .filter(({ op }) => /Conv2[dD]|MatMul/.test(op))
      .map(({ name }) => name.split('/').slice(0, -1));
    const [first = [], ...rest] = scopes;
    const length = first.findIndex((part, i) => rest.some((scope) => scope[i] !== part));
    this.common = scopes.length < 2 ? [] : first.slice(0, length < 0 ? first.length : length);
  }

  /** A name that no layer has yet. */
  of(node: string, suffix = ''): string {
    const parts = node.split('/');
    const own = this.common.every((part, i) => parts[i] === part) ? parts.slice(this.common.length) : parts;
    const kept = [...own];
    while (kept.length > 1 && REDUNDANT.test(kept[kept.length - 1])) kept.pop();
    const name = `${kept.join('_').replace(/[^A-Za-z0-9_.-]/g, '_') || 'layer'}${suffix}`;
    let free = name;
    for (let i = 1; this.used.has(free); i++) free = `${name}_${i}`;
    this.used.add(free);
    return free;
  }
}
