import { writeFileSync } from 'node:fs'

/** A foreign backend that writes the `process.env` of its thread to `options.file`. */
export function createBackend(_sink: unknown, _context: unknown, options: Readonly<Record<string, unknown>>): never {
  writeFileSync(String(options['file']), JSON.stringify(process.env))
  throw new Error('it only looked around')
}
