import { byKey, describeOperation, type Operation } from './history.ts'
import type { Violation } from './violation.ts'

/**
 * Checks each key as a register of which no acknowledged write is ever shadowed by an older one:
 *
 * - every read returns something that was written, and not by a write that certainly failed;
 * - a quorum read never returns a write that was overwritten by a write that was acknowledged before the read began
 *   (regularity, Lamport 1986), and never misses an acknowledged write as a special case of it;
 * - versions that quorum reads return never go back, whoever reads.
 *
 * Writes of unknown outcome may take effect at any time after their beginning, or never. Writes at `one` may be lost to
 * others, so no read need see them. This is what the re-stamp rule promises; it is less than linearizability, as two
 * concurrent writes may each be stamped twice.
 */
export function checkRegisters(operations: readonly Operation[]): Violation[] {
  const violations: Violation[] = []
  for (const list of byKey(operations).values()) {
    const writes = list.filter(({ kind }) => kind !== 'get')
    const reads = list.filter(({ kind, outcome }) => kind === 'get' && outcome === 'ok')
    for (const read of reads) {
      const violation = checkOrigin(read, writes) ?? checkRegular(read, writes)
      if (violation !== undefined) violations.push(violation)
    }
    violations.push(...checkVersions(reads.filter(isQuorum)))
  }
  return violations
}

/** Whether an operation takes part in the promise of quorums. */
export function isQuorum({ level }: Operation): boolean {
  return level !== 'one'
}

/** The writes that a value may come from: one put, or any deletion. */
export function originsOf(value: string | undefined, writes: readonly Operation[]): readonly Operation[] {
  return writes.filter(write => (value === undefined ? write.kind === 'delete' : write.value === value))
}

/** The acknowledged write, over by the given place, that came after the whole of `write`; `undefined` stands for none at all. */
export function overwriterOf(
  write: Operation | undefined,
  writes: readonly Operation[],
  place: number
): Operation | undefined {
  // A write whose end is unknown may come into effect after any other.
  const end = write === undefined ? -1 : write.outcome === 'ok' && isQuorum(write) ? write.ended! : Infinity
  return writes.find(other => {
    return other !== write && other.outcome === 'ok' && isQuorum(other) && other.ended! < place && end < other.began
  })
}

function checkOrigin(read: Operation, writes: readonly Operation[]): Violation | undefined {
  if (read.value === undefined) return undefined
  const [write] = originsOf(read.value, writes)
  if (write === undefined) {
    return { rule: 'reads return what was written', message: `nobody wrote what was read: ${describeOperation(read)}` }
  }
  if (write.outcome === 'failed' || write.began > read.ended!) {
    return {
      rule: 'reads return what was written',
      message: `a write without effect was read: ${describeOperation(write)}; ${describeOperation(read)}`
    }
  }
  return undefined
}

function checkRegular(read: Operation, writes: readonly Operation[]): Violation | undefined {
  if (!isQuorum(read)) return undefined
  const origins = originsOf(read.value, writes).filter(
    ({ outcome, began }) => outcome !== 'failed' && began < read.ended!
  )
  // "No value" may be the state before all writes, too.
  const candidates: (Operation | undefined)[] = read.value === undefined ? [undefined, ...origins] : [...origins]
  let missed: Operation | undefined
  for (const origin of candidates) {
    missed = overwriterOf(origin, writes, read.began)
    if (missed === undefined) return undefined
  }
  return {
    rule: 'quorum reads miss no acknowledged write',
    message: `${describeOperation(read)} missed ${missed === undefined ? 'a write' : describeOperation(missed)}`
  }
}

/** Sweeps over the reads in order of their beginnings, with the greatest version returned before each. */
function checkVersions(reads: readonly Operation[]): Violation[] {
  const versioned = reads.filter(({ version }) => version !== undefined)
  const byBegin = versioned.toSorted((a, b) => a.began - b.began)
  const byEnd = versioned.toSorted((a, b) => a.ended! - b.ended!)
  const violations: Violation[] = []
  let greatest: Operation | undefined
  let at = 0
  for (const read of byBegin) {
    for (; at < byEnd.length && byEnd[at]!.ended! < read.began; at++) {
      if (greatest === undefined || byEnd[at]!.version! > greatest.version!) greatest = byEnd[at]
    }
    if (greatest !== undefined && read.version! < greatest.version!) {
      violations.push({
        rule: 'quorum reads never go back',
        message:
          `${describeOperation(read)} returned version ${read.version}, ` +
          `after ${describeOperation(greatest)} had returned ${greatest.version}`
      })
    }
  }
  return violations
}
