// The kernels: pure functions over addresses in one linear memory. Nothing here allocates or keeps state.
export { activationBackward, addInto, biasActivationForward, columnSumTree } from './activation';
export { allFinite, fingerprint64, sumSquares } from './check';
export { padImage } from './convolution-border';
export { channelBiasActivation, channelSums, transpose } from './convolution-channels';
export { depthwiseForward, depthwiseInputGradient, depthwiseWeightGradient } from './convolution-depthwise';
export { foldPatches } from './convolution-fold';
export { packPatchColumns, packPatchRows, packPatchesLeft } from './convolution-patches';
export { gatherRows, gatherScaledBytes } from './gather';
export { gemmPacked, gemmPackedInto, gemmPackedTree } from './gemm';
export { mseForwardBackward, softmaxCrossEntropyForwardBackward } from './loss';
export { expF64, logF64 } from './math';
export { adamStep } from './optimizer';
export { packLeftColumns, packLeftRows, packRightColumns, packRightRows } from './pack';
export { peakMultiplyAdd } from './peak';
export { averagePoolBackward, averagePoolForward, channelMeans, channelMeansBackward } from './pooling-average';
export { maxPoolBackward, maxPoolForward } from './pooling-max';
export { fillNormal, fillUniform, philox4x32 } from './random';
