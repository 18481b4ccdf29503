// The chart library as the server serves it: the package's module, at an address of its own.
declare module '*/uPlot.esm.js' {
  export { default } from 'uplot';
}
