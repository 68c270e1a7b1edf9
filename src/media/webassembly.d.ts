/**
 * The part of the WebAssembly API that the gateway uses. TypeScript has it only in its DOM library, which would
 * put a browser's globals into every file.
 */
declare namespace WebAssembly {
  interface Module { readonly __wasmModule?: never }
  interface Memory {
    readonly buffer: ArrayBuffer
    grow(pages: number): number
  }
  interface Instance { readonly exports: Readonly<Record<string, unknown>> }
  // eslint-disable-next-line no-var -- a global value is declared with var
  var Module: { new (bytes: ArrayBufferView | ArrayBuffer): Module }
  // eslint-disable-next-line no-var -- as above
  var Instance: { new (module: Module, imports?: Readonly<Record<string, Readonly<Record<string, unknown>>>>): Instance }
}
