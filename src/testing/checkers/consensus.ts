import type { StoreId } from '../../model/node-id.ts'
import type { Violation } from './violation.ts'

/**
 * Watches a Raft group from outside while it runs, and keeps the first breach of each rule: one leader per term, one
 * vote per store and term (restarts included), applied prefixes equal (Raft §5.2, §5.4).
 */
export class ConsensusChecker {
  readonly #leaders = new Map<string, StoreId>()
  readonly #votes = new Map<string, StoreId>()
  readonly #applied = new Map<string, { readonly store: StoreId; readonly fingerprint: string }>()
  readonly #violations = new Map<string, Violation>()

  get violations(): readonly Violation[] {
    return [...this.#violations.values()]
  }

  /** A node has become, or believes in, the leader of a term. */
  leader(group: string, term: number, leader: StoreId): void {
    const known = this.#leaders.get(`${group} ${term}`)
    if (known === undefined) this.#leaders.set(`${group} ${term}`, leader)
    else if (known !== leader) {
      this.#report('one leader per term', `group ${group}, term ${term}: ${known} and ${leader}`)
    }
  }

  /** A store has written down its vote. */
  vote(group: string, term: number, voter: StoreId, candidate: StoreId): void {
    const key = `${group} ${term} ${voter}`
    const known = this.#votes.get(key)
    if (known === undefined) this.#votes.set(key, candidate)
    else if (known !== candidate) {
      this.#report('one vote per term', `group ${group}, term ${term}: ${voter} voted for ${known} and ${candidate}`)
    }
  }

  /** A node's state after it has applied everything up to an index. */
  applied(group: string, index: number, store: StoreId, fingerprint: string): void {
    const key = `${group} ${index}`
    const known = this.#applied.get(key)
    if (known === undefined) this.#applied.set(key, { store, fingerprint })
    else if (known.fingerprint !== fingerprint) {
      this.#report(
        'applied prefixes are equal',
        `group ${group}, index ${index}: ${store} has ${fingerprint}, ${known.store} has ${known.fingerprint}`
      )
    }
  }

  #report(rule: string, message: string): void {
    if (!this.#violations.has(rule)) this.#violations.set(rule, { rule, message })
  }
}
