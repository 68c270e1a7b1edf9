/** The compiled echo-kernel/, which the build puts into a module, as a pure layer reads no file. */
declare const code: Uint8Array<ArrayBuffer>
export default code
