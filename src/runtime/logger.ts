/** Structured facts that go with a log line. */
export type LogFields = Readonly<Record<string, unknown>>

/**
 * Where a node writes its log. Any logger with these four methods will do: pino, winston, `console`-like objects.
 * The message comes first and the facts second.
 */
export interface Logger {
  /** Internals, for developers of kilovolt. */
  debug(message: string, fields?: LogFields): void
  /** What an operator may want to know: joins, leaves, ownership changes. */
  info(message: string, fields?: LogFields): void
  /** What an operator should look at. */
  warn(message: string, fields?: LogFields): void
  /** What has gone wrong and needs somebody. */
  error(message: string, fields?: LogFields): void
}

/** Says nothing. */
export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} }

/** A logger that adds the same facts to every line. */
export function withFields(logger: Logger, fields: LogFields): Logger {
  return {
    debug: (message, more) => logger.debug(message, { ...fields, ...more }),
    info: (message, more) => logger.info(message, { ...fields, ...more }),
    warn: (message, more) => logger.warn(message, { ...fields, ...more }),
    error: (message, more) => logger.error(message, { ...fields, ...more })
  }
}
