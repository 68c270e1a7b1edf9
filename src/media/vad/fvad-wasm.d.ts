declare module '@echogarden/fvad-wasm' {
  // An ambient module cannot have an import declaration of a relative path.
  // eslint-disable-next-line @typescript-eslint/consistent-type-imports
  type FvadModule = import('./vad.js').FvadModule

  /** Instantiates the emscripten build of libfvad; each call makes a module with a heap of its own. */
  const instantiate: (options?: { wasmBinary?: ArrayBufferView | ArrayBuffer }) => Promise<FvadModule>
  export default instantiate
}
