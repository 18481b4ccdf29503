// The kernels: pure functions over addresses in one linear memory. Nothing here allocates or keeps state.
export {
  activationBackward,
  activationBackwardFromInput,
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
export { allFinite, fingerprint64, sumSquares } from './check';
export { dropout } from './dropout';
export { addToRows, embeddingBackward, embeddingForward } from './embedding';
export { gatherRows, gatherScaledBytes } from './gather';
export { gemmPacked, gemmPackedTree } from './gemm';
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
export { peakMultiplyAdd } from './peak';
export { fillNormal, fillUniform, philox4x32 } from './random';
export { softmaxBackward, softmaxForward } from './softmax';
