import { existsSync } from 'node:fs'
import { join } from 'node:path'

/** Debian package that these rows need and that is missing; null if all are installed. */
export function missingProgram(rows: readonly { readonly line: string; readonly language: string }[]): string | null {
  const packages: string[] = []
  if (rows.some(({ line }) => line === 'gsm' || line === 'amr') && !isThere('sox')) packages.push('sox libsox-fmt-all')
  if (rows.some(({ language }) => language === 'sw') && !isThere('espeak-ng')) packages.push('espeak-ng')
  return packages.length === 0 ? null : packages.join(' ')
}

function isThere(program: string): boolean {
  return (process.env['PATH'] ?? '').split(':').some((folder) => existsSync(join(folder, program)))
}
