declare module '@echogarden/fvad-wasm' {
  /** Instantiates the emscripten build of libfvad; its types are in src/media/vad.ts. */
  const instantiate: (options?: { wasmBinary?: ArrayBufferView | ArrayBuffer }) => Promise<import('./vad.js').FvadModule>
  export default instantiate
}
