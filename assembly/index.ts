// The kernels: pure functions over addresses in one linear memory. Nothing here allocates or keeps state.
export { activationBackward, addInto, biasActivationForward, columnSumTree } from './activation';
export { allFinite, fingerprint64, sumSquares } from './check';
export { gatherRows, gatherScaledBytes } from './gather';
export { gemmPacked, gemmPackedTree } from './gemm';
export { binaryCrossEntropyForwardBackward } from './loss-binary';
export { labelRanks, softmaxCrossEntropyForwardBackward } from './loss-cross-entropy';
export { huberForwardBackward, maeForwardBackward, mseForwardBackward } from './loss-values';
export { expF64, logF64 } from './math';
export { adamStep } from './optimizer';
export { packLeftColumns, packLeftRows, packRightColumns, packRightRows } from './pack';
export { peakMultiplyAdd } from './peak';
export { fillNormal, fillUniform, philox4x32 } from './random';
