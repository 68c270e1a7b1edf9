import { gzipSync } from 'node:zlib'

const BLOCK = 512

/**
 * A `.tar.gz` of files (POSIX ustar), readable by their owner alone.
 * @param name  of the folder that they are in; with the longest file's name at most 100 bytes
 */
export function tarOf(name: string, files: Readonly<Record<string, string | Uint8Array>>, mtimeMs: number): Uint8Array {
  const blocks = Object.entries(files).flatMap(([file, text]) => {
    const bytes = typeof text === 'string' ? Buffer.from(text) : text
    return [header(`${name}/${file}`, bytes.length, mtimeMs), bytes, Buffer.alloc(-bytes.length & (BLOCK - 1))]
  })
  return gzipSync(Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)]))
}

function header(path: string, bytes: number, mtimeMs: number): Buffer {
  const head = Buffer.alloc(BLOCK)
  const octal = (value: number, at: number, chars: number): number =>
    head.write(value.toString(8).padStart(chars - 1, '0'), at)
  head.write(path, 0, 100)
  octal(0o600, 100, 8)
  octal(0, 108, 8) // owner and group: root, so that no name of this machine is in it
  octal(0, 116, 8)
  octal(bytes, 124, 12)
  octal(Math.floor(mtimeMs / 1000), 136, 12)
  head.write(' '.repeat(8), 148) // the checksum is computed over spaces
  head.write('0', 156) // a file
  head.write('ustar\0' + '00', 257)
  octal(
    head.reduce((sum, byte) => sum + byte, 0),
    148,
    7,
  )
  head[154] = 0
  return head
}
