/** What `tfjs-tune-mode inspect` says of a model, as data, text and page. */
export type { InputSize } from './calls';
export { type Costs, deploySavings, type ModelCosts, modelCosts, type Savings } from './costs';
export { type InspectData, inspectData, type Source } from './data';
export { inspectHtml, type PageOptions } from './html';
export { restoreStates, type State, type Stated, type States } from './states';
export { inspectText } from './text';
