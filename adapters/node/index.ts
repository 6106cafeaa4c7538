export type { BackendChoice, BackendOptions } from './backend';
export { useBestBackend } from './backend';
export { fileIO } from './file-io';
export type { PictureBatch, PictureDataset } from './picture-dataset';
export type { Picture } from './picture-files';
export type { PictureFolderOptions, PictureOptions, SkippedPicture } from './picture-options';
export type { PictureFolder } from './pictures';
export { decodePicture, loadPicture, loadPictureFolder } from './pictures';
