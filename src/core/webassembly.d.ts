/**
 * The part of the WebAssembly API that the gateway uses. TypeScript defines this API only in its browser library, and
 * other globals of that library do not exist in Node.
 */
declare namespace WebAssembly {
  interface Memory {
    readonly buffer: ArrayBuffer
    grow(pages: number): number
  }
  const Memory: { new (descriptor: { initial: number; maximum?: number; shared?: boolean }): Memory }
  interface Module {
    readonly [Symbol.toStringTag]: string
  }
  const Module: { new (bytes: ArrayBufferView | ArrayBuffer): Module }
  type Imports = Readonly<Record<string, Readonly<Record<string, unknown>>>>
  interface Instance {
    readonly exports: Readonly<Record<string, unknown>>
  }
  const Instance: { new (module: Module, imports?: Imports): Instance }
  function compile(bytes: ArrayBufferView | ArrayBuffer): Promise<Module>
}
