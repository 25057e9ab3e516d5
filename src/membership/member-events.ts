import type { ViewChange } from './gossip.ts'
import type { MembershipEvents } from './membership.ts'

/**
 * The events that a change of the view is worth, in order: at most one per status it went through, and `change` last.
 * Refuting and being accused again between two looks at the member is no change of status.
 */
export function eventsOf({ before, after }: ViewChange): readonly (keyof MembershipEvents)[] {
  if (after === undefined) return ['change']
  const events: (keyof MembershipEvents)[] = []
  const was = before?.status
  const isUp = after.status === 'alive' || after.status === 'suspect'
  if (isUp && (was === undefined || was === 'left')) events.push('member:joined')
  else if (isUp && (was === 'dead' || (was === 'suspect' && after.status === 'alive'))) events.push('member:returned')
  if (after.status === 'suspect' && was !== 'suspect') events.push('member:suspected')
  // One that was gone when it was first heard of is no news.
  if (after.status === 'dead' && was !== undefined && was !== 'dead') events.push('member:failed')
  if (after.status === 'left' && was !== undefined && was !== 'left') events.push('member:left')
  events.push('change')
  return events
}
