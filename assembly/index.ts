// The kernels: pure functions over addresses in one linear memory. Nothing here allocates or keeps state.
export {
  activationBackward,
  activationForward,
  addInto,
  biasActivationForward,
  columnSumTree,
} from './activation';
export {
  attentionBackwardInputs,
  attentionBackwardScores,
  attentionOutput,
  attentionProbabilities,
} from './attention';
export {
  batchNormForward,
  batchNormInputGradient,
  batchNormParameterGradients,
  channelMoments,
  reciprocalDeviations,
  weighMoments,
} from './batch-norm';
export { addIntoBf16, packBf16, roundToBf16, unpackBf16 } from './bf16';
export { allFinite, fingerprint64, sumSquares } from './check';
export { padImage } from './convolution-border';
export { channelBiasActivation, channelSums, transpose } from './convolution-channels';
export {
  depthwiseForward,
  depthwiseInputGradient,
  depthwiseWeightGradient,
  singleChannelForward,
} from './convolution-depthwise';
export { hasThreeByThree } from './convolution-depthwise-3x3';
export { foldPatches } from './convolution-fold';
export { packPatchColumns, packPatchRows, packPatchesLeft } from './convolution-patches';
export { augmentImages, cropImages } from './augment';
export { dropout } from './dropout';
export { embeddingBackward, embeddingForward } from './embedding';
export { gatherRows, gatherScaledBytes } from './gather';
export { gemmPacked, gemmPackedInto, gemmPackedTree } from './gemm';
export { layerNormBackward, layerNormForward } from './layer-norm';
export { binaryCrossEntropyForwardBackward } from './loss-binary';
export { labelRanks, softmaxCrossEntropyForwardBackward } from './loss-cross-entropy';
export { huberForwardBackward, maeForwardBackward, mseForwardBackward } from './loss-values';
export { cosF64, expF64, logF64 } from './math';
export { adamStep } from './optimizer/adam';
export { moveTowardsMean } from './optimizer/average';
export { lionStep } from './optimizer/lion';
export { rmspropStep } from './optimizer/rmsprop';
export { momentumStep, sgdStep } from './optimizer/sgd';
export { packLeftColumns, packLeftRows, packRightColumns, packRightRows } from './pack';
export { peakMultiplyAdd, streamTriad } from './peak';
export { averagePoolBackward, averagePoolForward, channelMeans, channelMeansBackward } from './pooling-average';
export { maxPoolBackward, maxPoolForward } from './pooling-max';
export { fillNormal, fillUniform, philox4x32 } from './random';
export { gruBackward, gruForward, lstmBackward, lstmForward } from './recurrent';
export { softmaxBackward, softmaxForward } from './softmax';
export { addToRows, copyRows, copyValues } from './vectors';
