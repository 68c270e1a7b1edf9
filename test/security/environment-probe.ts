import { writeFileSync } from 'node:fs'

/** A backend of somebody else's that only looks around: writes the `process.env` that it finds to `options.file`. */
export function createBackend(_sink: unknown, _context: unknown, options: Readonly<Record<string, unknown>>): never {
  writeFileSync(String(options['file']), JSON.stringify(process.env))
  throw new Error('it only looked around')
}
