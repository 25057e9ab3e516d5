import type { LogFields, Logger } from './logger.ts'

/**
 * The logger of a node that was given none: warnings and errors as one line each on standard error, and everything when
 * the environment variable `DEBUG` names `kilovolt:*`.
 */
export function createStderrLogger(): Logger {
  const verbose = /(?:^|,)\s*(?:\*|kilovolt(?::\*)?)\s*(?:,|$)/u.test(process.env['DEBUG'] ?? '')
  const line =
    (level: string) =>
    (message: string, fields?: LogFields): void => {
      process.stderr.write(`${new Date().toISOString()} kilovolt ${level} ${message}${show(fields)}\n`)
    }
  const quiet = (): void => {}
  return {
    debug: verbose ? line('debug') : quiet,
    info: verbose ? line('info') : quiet,
    warn: line('warn'),
    error: line('error')
  }
}

function show(fields: LogFields | undefined): string {
  if (fields === undefined) return ''
  return Object.entries(fields)
    .map(([name, value]) => ` ${name}=${value instanceof Error ? value.message : JSON.stringify(value)}`)
    .join('')
}
