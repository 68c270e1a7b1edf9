import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { packTar } from 'modern-tar'
import { json } from '../terminal.js'

/** Maximum size in bytes of an archive before compression. Further files are listed as missing. */
const ARCHIVE_BYTES_MAX = 1024 * 1024 * 1024

/** Files of one folder that become one archive, and a list of the missing parts. */
export class Archive {
  /** Missing parts, each with its reason. */
  readonly missing: string[] = []
  readonly #files: Record<string, string | Uint8Array> = {}
  #bytes = 0

  get names(): readonly string[] {
    return Object.keys(this.#files)
  }

  /** @param content a text or bytes are stored unchanged, any other value is stored as JSON */
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

  /** Makes a section of the archive's README. */
  static section(heading: string, lines: readonly string[]): string {
    return `${heading}:\n${lines.map((line) => `  ${line}\n`).join('')}`
  }

  /**
   * Writes `name.tar.gz`: the files in a folder of this name, and a README. Only their owner can read them.
   * @param flag  `wx` refuses to overwrite a file
   * @returns the path of the archive
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
