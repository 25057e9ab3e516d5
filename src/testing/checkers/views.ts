import { compareIds, type StoreId } from '../../model/node-id.ts'
import type { View } from '../../model/view.ts'
import type { Violation } from './violation.ts'

/**
 * Checks that at rest all running nodes see the same: each other alive, nobody else, and the same incarnations.
 *
 * @param views - the view of each running node
 */
export function checkViews(views: ReadonlyMap<StoreId, View>): Violation[] {
  const violations: Violation[] = []
  const running = [...views.keys()].toSorted(compareIds)
  let first: { readonly store: StoreId; readonly picture: string } | undefined
  for (const store of running) {
    const view = views.get(store)!
    const alive = [...view.values()].filter(({ status }) => status === 'alive' || status === 'suspect')
    const seen = alive.map(({ storeId }) => storeId).toSorted(compareIds)
    if (seen.join() !== running.join() || alive.some(({ status }) => status !== 'alive')) {
      const names = alive.map(({ storeId, status }) => `${storeId.slice(0, 8)} ${status}`)
      violations.push({
        rule: 'views are right at rest',
        message: `${store.slice(0, 8)} sees ${names.join(', ')}; running are ${running.map(id => id.slice(0, 8)).join(', ')}`
      })
      continue
    }
    const picture = alive
      .map(({ storeId, incarnation, clusterId }) => `${storeId.slice(0, 8)} ${incarnation} ${clusterId}`)
      .toSorted()
      .join(', ')
    first ??= { store, picture }
    if (picture !== first.picture) {
      violations.push({
        rule: 'views are equal at rest',
        message: `${store.slice(0, 8)} sees ${picture}; ${first.store.slice(0, 8)} sees ${first.picture}`
      })
    }
  }
  return violations
}
