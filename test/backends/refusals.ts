/**
 * What tfjs 4.22.0 cannot compute on a backend, kernel by kernel. Such rows are held to fail, and to fail like this: one
 * that begins to work must leave the list.
 */
interface Refusal {
  backends: RegExp;
  /** Names of rows. */
  rows: RegExp;
  reason: string;
  /** The error: tfjs's own, or the table's where numbers are wrong and tfjs says nothing. */
  says: RegExp;
}

const REFUSALS: Refusal[] = [
  {
    backends: /^web(gl|gpu)$/,
    rows: /^Conv3D.* (LeakyReLU \(not fused\)|ReLU\(6\) \(not fused\)|ReLU\(4\))/,
    reason: "the gradient of tfjs's own activation needs 'Select', which knows rank 4 at most",
    says: /Where for rank 5 is not yet supported/,
  },
  {
    backends: /./,
    rows: /^SeparableConv2D.* channelsFirst/,
    reason: 'deployed it has a bias, which tfjs-layers adds on the wrong axis',
    says: /cannot be deployed: folded it has a bias, and with dataFormat 'channelsFirst'/,
  },
];

export function refusalOf(row: string, backend: string): Refusal | undefined {
  return REFUSALS.find(({ backends, rows }) => backends.test(backend) && rows.test(row));
}
