/** The options that the parent process put into `name`. @throws Error naming the variable when it is not there */
export function optionsFromEnvironment<T>(name: string): T {
  const text = process.env[name]
  if (text === undefined) throw new Error(`${name} is not set: this program is started by bench/main.ts`)
  // Written by our own parent with JSON.stringify of the same type.
  return JSON.parse(text) as T
}

/** Sends to the parent; a process that lost its parent ends instead of running on alone. */
export function tellParent(message: unknown): void {
  if (process.send === undefined || !process.connected) process.exit(3)
  process.send(message)
}

export function endWithParent(): void {
  process.on('disconnect', () => process.exit(3))
}
