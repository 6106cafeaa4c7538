/** tfjs-tune-mode: Tune mode for Conv + BatchNorm blocks of tfjs-layers models. */
export { type DeployReport, inspectDeploy, toDeploy } from './deploy';
export { TuneModeError, type TuneModeErrorCode } from './errors';
export { enableTuneMode, getMode, inspect, type Mode, setMode } from './modes';
export type { TuneOptions } from './options';
export type { SkippedReport, TuneReport } from './report';
export type { SkipCode } from './walker/check';
export type { BlockReport } from './walker/find';
