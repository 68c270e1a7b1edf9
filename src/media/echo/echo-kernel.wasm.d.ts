/** The compiled echo-kernel/. The build stores it as a module, because a pure layer must not read files. */
declare const code: Uint8Array<ArrayBuffer>
export default code
