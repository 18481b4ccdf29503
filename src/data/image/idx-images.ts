// Labelled images in two IDX files: one of images of a single channel, one of their labels.
import type { IdxFiles } from '../../config/data-sources.ts';
import { dataError } from '../../errors.ts';
import { countOf } from '../../printable.ts';
import { displayPath } from '../dataset/source-file.ts';
import { readIdxData, readImageHeader, readLabelHeader } from './idx.ts';
import type { ImageSet } from './image-set.ts';

/** Opens two files. @throws LockstepError if one is no IDX file, or if they disagree on the number of images */
export async function openIdxImages({ images: imagesPath, labels: labelsPath }: IdxFiles): Promise<ImageSet> {
  const images = await readImageHeader(imagesPath);
  const labels = await readLabelHeader(labelsPath);
  const [numImages = 0, ...shape] = images.dimensions;
  const [numLabels = 0] = labels.dimensions;
  if (numImages !== numLabels) {
    const counts = `${countOf(numImages, 'image')} but ${displayPath(labelsPath)} has ${countOf(numLabels, 'label')}`;
    throw dataError('E_DATA_IDX', `${displayPath(imagesPath)} has ${counts}`);
  }
  return {
    name: displayPath(imagesPath),
    numImages,
    shape,
    classNames: undefined,
    locateLabel: (index) => `${displayPath(labelsPath)} [${index}]`,
    readLabels: async () => {
      const bytes = new Uint8Array(labels.dataBytes);
      await readIdxData(labels, bytes);
      return bytes;
    },
    readPixels: (out) => readIdxData(images, out),
  };
}
