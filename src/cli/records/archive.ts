import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { packTar } from 'modern-tar'
import { json } from '../terminal.js'

/** Bytes of an archive before it is compressed; files beyond are named as missing. */
const ARCHIVE_BYTES_MAX = 1024 * 1024 * 1024

/** Files of one folder, which become one file, and what is missing among them. */
export class Archive {
  /** Why each thing is not there. */
  readonly missing: string[] = []
  readonly #files: Record<string, string | Uint8Array> = {}
  #bytes = 0

  get names(): readonly string[] {
    return Object.keys(this.#files)
  }

  /** @param content  text and bytes as they are, anything else as JSON */
  add(name: string, content: string | object): void {
    const file = typeof content === 'string' || content instanceof Uint8Array ? content : json(content)
    const bytes = typeof file === 'string' ? Buffer.byteLength(file) : file.length
    if (this.#bytes + bytes > ARCHIVE_BYTES_MAX) {
      this.missing.push(`${name}: the archive would be larger than ${ARCHIVE_BYTES_MAX} bytes`)
      return
    }
    this.#bytes += bytes
    this.#files[name] = file
  }

  /** A part of its README. */
  static section(heading: string, lines: readonly string[]): string {
    return `${heading}:\n${lines.map((line) => `  ${line}\n`).join('')}`
  }

  /**
   * Writes `name.tar.gz`: the files in a folder of that name with a README, all readable by their owner alone.
   * @param flag  `wx` refuses to write over a file
   * @returns its path
   */
  async write(folder: string, name: string, readme: string, flag: 'w' | 'wx'): Promise<string> {
    const entries = Object.entries({ 'README.txt': readme, ...this.#files }).map(([file, text]) => {
      const body = typeof text === 'string' ? Buffer.from(text) : text
      return { header: { name: `${name}/${file}`, size: body.length, mode: 0o600 }, body }
    })
    const path = join(folder, `${name}.tar.gz`)
    await writeFile(path, gzipSync(await packTar(entries)), { mode: 0o600, flag })
    return path
  }
}
