import type { ConsistencyLevel } from '../../model/quorum.ts'

/** One operation of a client. Places in time are numbers of one order over the whole run. */
export interface Operation {
  readonly id: number
  readonly client: string
  readonly kind: 'get' | 'put' | 'delete'
  readonly key: string
  readonly level: ConsistencyLevel
  /** Place of its beginning. */
  readonly began: number
  /** What was written, or what was read; `undefined` for no value. No two puts of a history write the same. */
  value: string | undefined
  /** Version that a read returned, if it returned one; versions of one key grow as text. */
  version: string | undefined
  /** Place of its end; `undefined` while it runs. */
  ended: number | undefined
  /** `failed`: certainly without effect; `unknown`: it may have had, or may yet have, its effect. */
  outcome: 'ok' | 'failed' | 'unknown'
}

/** What is said of an operation at its beginning. */
export type OperationStart = Pick<Operation, 'client' | 'kind' | 'key' | 'level'> & { readonly value?: string }

/** Records what clients do. */
export class History {
  readonly #operations: Operation[] = []
  #place = 0

  get operations(): readonly Operation[] {
    return this.#operations
  }

  /** An operation begins; its outcome is unknown until it ends. */
  begin({ client, kind, key, level, value }: OperationStart): Operation {
    const operation: Operation = {
      id: this.#operations.length,
      client,
      kind,
      key,
      level,
      began: this.#place++,
      value,
      version: undefined,
      ended: undefined,
      outcome: 'unknown'
    }
    this.#operations.push(operation)
    return operation
  }

  /** A write was acknowledged. */
  acknowledged(operation: Operation): void {
    operation.ended = this.#place++
    operation.outcome = 'ok'
  }

  /** A read has returned. */
  returned(operation: Operation, value: string | undefined, version: string | undefined): void {
    operation.value = value
    operation.version = version
    this.acknowledged(operation)
  }

  /** An operation was refused; `failed` only when it certainly had no effect. */
  refused(operation: Operation, outcome: 'failed' | 'unknown'): void {
    operation.ended = this.#place++
    operation.outcome = outcome
  }
}

/** One line about an operation. */
export function describeOperation({ id, client, kind, key, level, value, began, ended, outcome }: Operation): string {
  const what = kind === 'delete' ? '' : ` ${value ?? 'nothing'}`
  return `#${id} ${client} ${kind} ${key}${what} at ${level} [${began}–${ended ?? '…'}] ${outcome}`
}

/** The operations of each key. */
export function byKey(operations: readonly Operation[]): Map<string, Operation[]> {
  const keys = new Map<string, Operation[]>()
  for (const operation of operations) {
    const list = keys.get(operation.key)
    if (list === undefined) keys.set(operation.key, [operation])
    else list.push(operation)
  }
  return keys
}
