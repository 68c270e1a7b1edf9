import { readFile } from 'node:fs/promises'
import { messageOf } from '../core/errors.js'
import type { Log } from '../telemetry/log.js'
import type { EdgeTls } from './options.js'

/** Time in ms between two readings of the certificate of the public port, to find changes. */
const CERTIFICATE_LOOK_MS = 10_000

interface CertificateWatchOptions {
  readonly tls: EdgeTls
  readonly log: Log
  /** Starts to use the files. Rejects if the port could not be opened again; `reopen` is then tried. */
  readonly renew: () => Promise<void>
  readonly reopen: () => Promise<void>
}

/**
 * Replaces the certificate of the public port when its files change. The files are read at intervals, because a
 * certificate is often replaced by changing a link, which file events do not report. While certificate and key do not
 * fit (one file may still be old), the port keeps its certificate.
 */
export class CertificateWatch {
  readonly #options: CertificateWatchOptions
  readonly #timer: NodeJS.Timeout
  /** Content of the files at the last reading; null before the first. */
  #seen: string | null = null
  #looking = false
  #shut = false

  constructor(options: CertificateWatchOptions) {
    this.#options = options
    void this.#look()
    this.#timer = setInterval(() => void this.#look(), options.tls.lookMs ?? CERTIFICATE_LOOK_MS).unref()
  }

  close(): void {
    clearInterval(this.#timer)
  }

  async #look(): Promise<void> {
    if (this.#looking) return
    this.#looking = true
    const { tls, log, renew, reopen } = this.#options
    try {
      if (this.#shut) {
        await reopen()
        this.#shut = false
      }
      const files = await Promise.all([readFile(tls.certFile, 'utf8'), readFile(tls.keyFile, 'utf8')])
      const content = files.join('\n')
      const first = this.#seen === null
      if (content === this.#seen) return
      this.#seen = content
      if (first) return
      tls.check()
      this.#shut = true
      await renew()
      this.#shut = false
      log.info({}, 'the public port uses the changed certificate')
    } catch (thrown) {
      log.error(
        { why: messageOf(thrown) },
        this.#shut
          ? 'The public port could not be opened again after its certificate had changed; it is tried again'
          : 'The changed certificate of the public port is not used; the port keeps the one it has',
      )
    } finally {
      this.#looking = false
    }
  }
}
