export { activationGradient, columnSums, roundTotals, scaledGradient } from './activation-gradient';
export { repeatChannels, sumGroups } from './channels';
export { conv2dBackpropFilter } from './conv2d-filter';
export { depthwiseBackpropFilter } from './depthwise-filter';
export { depthwiseBackpropInput } from './depthwise-input';
export { countNotFinite } from './finite';
export { foldBatchNorm, foldBatchNormGradient } from './fold';
export { maxPool } from './pools';
export { multiply, packedFloats, packPanels } from './product';
