-- The weights of the payment risk add up to 1, so that it lies between 0 and 1.
select sum(weight) as weights
from {{ ref('payment_risk_weights') }}
having sum(weight) <> 1
